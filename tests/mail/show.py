"""A message as the tests' golden files tell it; run it as a program to write them anew."""

from __future__ import annotations

from kerwen.mail import encoded_words, fields, message, render, structure
from kerwen.mail.message import Part
from kerwen.mail.texts import file_name

from .ugly import CORPUS, files


def outline(raw: bytes, part: Part, depth: int = 0) -> list[str]:
    """One line a part: where it stands, what it is, what its body begins with."""
    name = file_name(part)
    begin = raw[part.body : min(part.end, part.body + 24)]
    told = f" name={name!r}" if name else ""
    place = f"{part.start}-{part.body}-{part.end}"
    lines = [f"{'  ' * depth}{part.type} {place} lines={part.lines}{told} {begin!r}"]
    for child in part.parts:
        lines += outline(raw, child, depth + 1)
    return lines


def show(raw: bytes) -> str:
    """Everything that is made of a message."""
    root = message.scan(raw)
    made = render.render(raw)
    subject = fields.first(root.fields, b"subject")
    lines = outline(raw, root)
    lines.append(f"subject: {encoded_words.decode(subject) if subject else None!r}")
    lines.append(f"preview: {made.preview!r}")
    lines.append(f"files: {made.files}, sent: {made.sent_ms}")
    lines.append(f"words: {' '.join(made.words.body.split())}")
    lines.append(f"from: {made.words.sender} | to: {made.words.to}")
    lines.append(structure.envelope(root.fields).decode("latin-1"))
    lines.append(structure.bodystructure(root).decode("latin-1"))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    for file_stem, content in files().items():
        (CORPUS / f"{file_stem}.txt").write_text(show(content), "utf-8", newline="")
