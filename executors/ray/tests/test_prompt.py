"""Prompts and answers in parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moothall_ray_executor.prompt import MARK, messages, part, split

# Marks, their like, and ends of lines in every order.
TEXTS = st.lists(st.sampled_from([MARK, "\n", "\r\n", "---user--", " ", "a", "ß"]), max_size=12).map("".join)


@pytest.mark.parametrize(
    ("template", "system", "user"),
    [
        ("be brief\n---user---\nwrite", "be brief", "write"),
        ("be brief\r\n---user---\r\nwrite\r\n", "be brief", "write\r\n"),
        ("---user---\nwrite", "", "write"),
        ("be brief\n---user---", "be brief", ""),
        ("no mark", "", "no mark"),
        ("say ---user--- here", "", "say ---user--- here"),
        ("say ---user---\n---user---\nnow", "say ---user---", "now"),
        ("a\n---user---\nb\n---user---\nc", "a", "b\n---user---\nc"),
        ("", "", ""),
    ],
)
def test_a_prompt_is_split_at_the_first_line_that_is_the_mark(template: str, system: str, user: str) -> None:
    assert split(template) == (system, user)


@given(TEXTS)
def test_splitting_loses_nothing_but_the_line_of_the_mark(template: str) -> None:
    system, user = split(template)
    lines = template.replace("\r\n", "\n").split("\n")
    if MARK not in lines:
        assert (system, user) == ("", template)
        return
    at = lines.index(MARK)
    assert system.replace("\r\n", "\n") == "\n".join(lines[:at])
    assert user.replace("\r\n", "\n") == "\n".join(lines[at + 1 :])


def test_an_empty_prompt_is_built_from_description_and_role() -> None:
    system, user = messages(" ", "Write a parser.", "DEV")
    assert "DEV" in system["content"]
    assert user == {"role": "user", "content": "Write a parser."}


@pytest.mark.parametrize(
    ("text", "content", "reasoning"),
    [
        ("<think>hm\n</think>\n\nyes", "yes", "hm"),
        ("hm</think>yes", "yes", "hm"),
        ("<think>never ends", "", "never ends"),
        ("plain", "plain", ""),
        ("write `<think>` and `</think>`", "write `<think>` and `</think>`", ""),
        ("  indented", "  indented", ""),
    ],
)
def test_reasoning_is_parted_from_content(text: str, content: str, reasoning: str) -> None:
    assert part(text) == (content, reasoning)
