"""Proves that nested settings are flattened by dotted paths, and compared setting by setting."""

from __future__ import annotations

from xai_bench.results.settings import LEFT_OUT, differences, flattened


def test_paths_are_dotted_and_lists_stay_whole() -> None:
    config = {"a": {"b": 1, "c": {}}, "d": [{"e": 2}]}
    assert flattened(config) == {"a.b": 1, "d": [{"e": 2}]}
    assert flattened(config, "x.") == {"x.a.b": 1, "x.d": [{"e": 2}]}


def test_only_what_differs_is_named() -> None:
    shipped = {"a": {"b": 1, "c": 2}, "d": 3}
    assert differences(shipped, shipped) == {}
    assert differences({"a": {"b": 1, "c": 9}, "e": None}, shipped) == {
        "a.c": 9,
        "e": None,
        "d": LEFT_OUT,
    }


def test_a_section_in_place_of_a_value_is_not_left_out() -> None:
    assert differences({"a": {"b": 1}}, {"a": None}) == {"a.b": 1}
    assert differences({"a": None}, {"a": {"b": 1}}) == {"a": None}
