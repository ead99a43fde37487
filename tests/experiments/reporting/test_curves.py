"""How lines are divided among subplots and styled. The curves themselves: ``comparison/test_report.py``."""

from sb3_ppo_variants.experiments.reporting.curves import COLOURS, Subplot, short, subplots

MANY = [f"v{i}" for i in range(9)]


def test_few_lines_share_a_subplot() -> None:
    styles = {"a": (COLOURS[0], "-"), "ppo": ("#000000", "-"), "b": (COLOURS[2], "--")}
    assert subplots(["a", "ppo", "b"], {"unused": ["a"]}, "ppo", ["b"]) == [Subplot("", ["a", "ppo", "b"], styles)]


def test_many_lines_are_divided_and_the_reference_is_in_each_subplot() -> None:
    divided = subplots([*MANY, "ppo"], None, "ppo")
    assert [s.labels for s in divided] == [MANY[:6], MANY[6:]]
    assert all(s.styles["ppo"] == ("#000000", "--") for s in divided)


def test_groups_and_what_is_in_none_of_them() -> None:
    divided = subplots([*MANY, "x", "y"], {"first": MANY[:5], "second": [*MANY[5:], "absent"], "empty": ["absent"]})
    assert [(s.title, s.labels) for s in divided] == [("first", MANY[:5]), ("second", MANY[5:])]
    assert [s.styles[label] for s in divided for label in ("x", "y")] == [("#000000", "--"), ("#777777", "--")] * 2


def test_a_group_of_which_nothing_of_its_own_is_left_is_not_drawn() -> None:
    divided = subplots(MANY, {"first": MANY[:5], "second": MANY[4:], "deep": [MANY[0], "absent"]})
    assert [subplot.title for subplot in divided] == ["first", "second"]


def test_long_labels_keep_their_end() -> None:
    assert short("sb3:ppo") == "sb3:ppo"
    assert short("contrib:maskable_ppo") == "contrib:maskable_ppo"
    assert short("my_package.my_module:MyAlgorithm") == "…ckage.my_module:MyAlgorithm"
