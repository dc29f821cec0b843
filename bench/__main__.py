"""`make bench`: print what was measured."""

from bench import determination

for name, microseconds in determination.run().items():
    print(f"{name:<24}{microseconds:8.1f} µs")
