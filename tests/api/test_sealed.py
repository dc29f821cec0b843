from tests.world import World


def test_try(world: World) -> None:
    h = world.handler()
    d = world.dataset(h, "personal")
    r = world.recipient()
    t = world.approved(h, [d], r, persons=10)
    import json

    for e in world.auditor.get("/v1/audit/entries", handler=h["id"], limit=200).json()["items"]:
        print(e["action"], e["body"])
        print(json.dumps(e["details"]))
    assert 0
