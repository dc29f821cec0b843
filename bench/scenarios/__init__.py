"""What is measured: each module runs one comparison on a stage and tells what came out."""
