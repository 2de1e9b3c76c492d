"""Prompts in, answers out: splits what an agent is told, and parts what a model thought aloud from what it says."""

MARK = "---user---"
OPEN, CLOSE = "<think>", "</think>"


def split(template: str) -> tuple[str, str]:
    """The system message (before the first line that is the mark) and the user's (after it); no mark = all is the
    user's. Line ends next to the mark belong to it."""
    start = 0
    while True:
        at = template.find(MARK, start)
        if at < 0:
            return "", template
        end = at + len(MARK)
        if _begins_line(template, at) and _ends_line(template, end):
            return template[:at].removesuffix("\n").removesuffix("\r"), template[_after_line_end(template, end) :]
        start = at + 1


def build(description: str, role: str) -> tuple[str, str]:
    """The messages for an agent without a prompt of its own."""
    who = f"You are an expert with the role {role}" if role else "You are an expert"
    return f"{who} in a team of software engineers. Answer with your best proposal for the task.", description


def messages(template: str, description: str, role: str) -> list[dict[str, str]]:
    """What the model is sent."""
    system, user = split(template) if template.strip() else build(description, role)
    told = [{"role": "system", "content": system}] if system else []
    return [*told, {"role": "user", "content": user}]


def part(text: str) -> tuple[str, str]:
    """Content and reasoning of an answer. Reasoning stands in front between marks; the opening one may be missing,
    since chat templates put it into the prompt; without the closing one all of it is reasoning."""
    body = text.lstrip()
    if body.startswith(OPEN):
        inside, closed, rest = body.removeprefix(OPEN).partition(CLOSE)
        return (rest.strip(), inside.strip()) if closed else ("", inside.strip())
    before, closed, rest = text.partition(CLOSE)
    if closed and OPEN not in before:
        return rest.strip(), before.strip()
    return text, ""


def _begins_line(text: str, at: int) -> bool:
    return at == 0 or text[at - 1] == "\n"


def _ends_line(text: str, end: int) -> bool:
    return end == len(text) or text.startswith(("\n", "\r\n"), end)


def _after_line_end(text: str, end: int) -> int:
    return end + 2 if text.startswith("\r\n", end) else min(end + 1, len(text))
