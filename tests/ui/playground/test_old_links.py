"""Links made with version 0.1 still open: one of each kind, and what they set."""

from __future__ import annotations

from typing import Any

from node import Node, module

pytest_plugins = ["node"]

LINKS = {
    "short": "#lab=jeyJzdGF0ZSI6eyJwcm9tcHQiOiJOZWxsIiwic2VlZCI6N319",
    "write": (
        "#lab=zjVLLbtswEPwVYc7rgDLiPHjspe2ht94MIVhHa1sIRRIkFcEw9O8BZaeWnKQILyIxO7vamTkiJk4CfYRnKwYafWiSgNC6en"
        "zHxCFJAMEH1_oEjd-2SHspkutt4bbFL65rkykxiY_Q6yMstwKNJK2XwKkLGX5l0wm0ulGrgS41zj-"
        "9XNBSnc6kIoiX1KTG2Scvlk06XMqX6qqVnw56nIBtY2fgUBF2QaQ-QG_ZRCFEkRq6JBixu7SHflB5KeehU-"
        "hywd71Ng8lGLYy2_XnqdelaaZM5v-dafFdqe6HatrD-cXLp-"
        "y5iEv1gea_ol0JNuX9aeznvGstb8oZ74dwW0Th8LwHYSPcRujbd1n_majL7IHdBW5H-"
        "Fx4_MA4K37NJggH827fQHChlpADwz0Iz864Lj99cBveNKYZgxP96PKSkIKMybeuHq1cL0pakaporeju_H2kRVlVhJ4PJwW-"
        "a9zD1xG__U_2MmKEt_lKSO6Qf3A6Iq996qcVocujVoQ6cB9zqIfhDQ"
    ),
    "race": (
        "#lab=jeyJzdGF0ZSI6eyJwYW5lbCI6InJhY2UiLCJzZWVkIjozLCJsZW5ndGgiOjYwLCJsYW5lcyI6W3sibmFtZSI6IkNvbGQiLC"
        "JzdGVwcyI6W3sibmFtZSI6InRlbXBlcmF0dXJlIiwidmFsdWUiOjAuMn1dLCJncmVlZHkiOmZhbHNlLCJiZWFtcyI6MCwibGVuZ3"
        "RoX3BlbmFsdHkiOjF9LHsibmFtZSI6IkJlYW1zIiwiYmVhbXMiOjQsImxlbmd0aF9wZW5hbHR5IjoxLjV9XX19"
    ),
    "beams": (
        "#lab=jeyJzdGF0ZSI6eyJwYW5lbCI6ImJlYW1zIiwiYmVhbXMiOnsiYmVhbXMiOjMsImxlbmd0aCI6MTIsImxlbmd0aF9wZW5hbH"
        "R5IjotMC41LCJlYXJseSI6dHJ1ZX19fQ"
    ),
    "toy": (
        "#lab=jeyJzdGF0ZSI6eyJwYW5lbCI6InRveSIsInRveSI6eyJ0ZW1wZXJhdHVyZSI6NSwidG9wX2siOjMsInUiOjAuMjUsImRyYX"
        "dzIjoxMDAwfX19"
    ),
    "scene": (
        "#lab=jeyJzdGF0ZSI6eyJwYW5lbCI6IndyaXRlIiwicHJvbXB0IjoiTmVsbCJ9LCJwcmVzZW50Ijp7ImF0IjoyLCJkZWNrIjpudWxsfX0"
    ),
    "deck": (
        "#lab=jeyJzdGF0ZSI6eyJwcm9tcHQiOiJOZWxsIn0sInByZXNlbnQiOnsiYXQiOjAsImRlY2siOnsidGl0bGUiOiJNaW5lIiwic2"
        "NlbmVzIjpbeyJ0aXRsZSI6Ik9uZSIsIm5vdGUiOiIiLCJzaG93IjoidG95Iiwic3RhdGUiOnsidG95Ijp7InRlbXBlcmF0dXJlIj"
        "owLjUsInRvcF9rIjowLCJ1IjowLjUsImRyYXdzIjowfX19XX19fQ"
    ),
}


def opened(node: Node, name: str) -> dict[str, Any]:
    """What the link holds, its state as the Playground would take it."""
    script = """(hash) => LINK.then(async ({ read, clean }) => {
      const payload = await read(hash);
      return { ...payload, ...clean(payload.state) };
    })""".replace("LINK", module("playground/link.js"))
    found: dict[str, Any] = node.evaluate(script, LINKS[name])
    assert found["wrong"] == []
    return found


def test_settings(node: Node) -> None:
    assert opened(node, "short")["state"] == {"prompt": "Nell", "seed": 7}


def test_a_text_with_its_branches(node: Node) -> None:
    state = opened(node, "write")["state"]
    assert state["prompt"] == "In the town of Haddle"
    assert [(step["name"], step["value"]) for step in state["steps"]] == [
        ("temperature", 0.05), ("top_k", 10_000_000), ("repetition_penalty", 20), ("top_p", 0.9), ("min_p", 0),
    ]  # fmt: skip
    way = {"steps": [{"name": "temperature", "value": 0.8}, {"name": "top_k", "value": 40}], "greedy": False, "seed": 1}
    assert state["tree"] == {"nodes": [[-1, 5, 0], [0, 6, 0], [0, 9, -1]], "ways": [way], "leaf": 1}
    assert len(state["lanes"]) == 6


def test_the_panels(node: Node) -> None:
    race = opened(node, "race")["state"]
    assert (race["panel"], race["seed"], race["length"]) == ("race", 3, 60)
    cold = {"name": "Cold", "steps": [{"name": "temperature", "value": 0.2}], "greedy": False, "beams": 0}
    assert race["lanes"] == [{**cold, "length_penalty": 1}, {"name": "Beams", "beams": 4, "length_penalty": 1.5}]
    beams = {"beams": 3, "length": 12, "length_penalty": -0.5, "early": True}
    assert opened(node, "beams")["state"] == {"panel": "beams", "beams": beams}
    toy = {"temperature": 5, "top_k": 3, "u": 0.25, "draws": 1000}
    assert opened(node, "toy")["state"] == {"panel": "toy", "toy": toy}


def test_scenes(node: Node) -> None:
    assert opened(node, "scene")["present"] == {"at": 2, "deck": None}
    deck = opened(node, "deck")["present"]["deck"]
    toy = {"temperature": 0.5, "top_k": 0, "u": 0.5, "draws": 0}
    scene = {"title": "One", "note": "", "show": "toy", "state": {"toy": toy}}
    assert deck == {"title": "Mine", "scenes": [scene]}
