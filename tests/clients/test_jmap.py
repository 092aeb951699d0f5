"""Mail by other people's JMAP clients: jmapc in Python, jmap-jam in Node."""

from __future__ import annotations

import secrets
import subprocess
import threading
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import orjson
import pytest

from tests.conftest import Server

PASSWORD = "correct horse battery staple"


def register(server: Server) -> tuple[str, str]:
    """A new account: its name and a token."""
    name = f"jmap.{secrets.token_hex(4)}"
    body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    url = f"{server.url}/_matrix/client/v3/register"
    with urlopen(Request(url, orjson.dumps(body), method="POST")) as answer:
        return name, orjson.loads(answer.read())["access_token"]


def test_jmap_jam(server: Server, js_folder: Path) -> None:
    name, token = register(server)
    address = f"{name}@{server.domain.partition(':')[0]}"
    command = ["node", str(js_folder / "mail.mjs"), server.url, token, address]
    told = subprocess.run(command, capture_output=True, text=True, timeout=100)
    print(told.stdout, told.stderr)
    assert told.returncode == 0
    assert "mail told" in told.stdout


def test_jmapc(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    jmapc: Any = pytest.importorskip("jmapc")
    from jmapc import methods

    name, _ = register(server)
    address = f"{name}@{server.domain.partition(':')[0]}"
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(server.ca))
    host = server.https_url.removeprefix("https://")
    client = jmapc.Client.create_with_password(host, name, PASSWORD)
    boxes = {one.role: one.id for one in client.request(methods.MailboxGet(ids=None)).data}
    (who,) = client.request(methods.IdentityGet()).data
    assert who.email == address

    heard: list[Any] = []
    listens = threading.Event()

    def listen() -> None:
        for event in client.events:
            heard.append(event)
            listens.set()
            if len(heard) == 2:
                return

    listener = threading.Thread(target=listen, daemon=True)
    listener.start()
    assert listens.wait(30)  # the first event tells the state as it is

    draft = jmapc.Email(
        mail_from=[jmapc.EmailAddress(name="Jmapc", email=address)],
        to=[jmapc.EmailAddress(email=address)],
        subject="Cherries",
        keywords={"$draft": True},
        mailbox_ids={boxes["drafts"]: True},
        body_values={"body": jmapc.EmailBodyValue(value="sour and sweet")},
        text_body=[jmapc.EmailBodyPart(part_id="body", type="text/plain")],
    )
    results = client.request(
        [
            methods.EmailSet(create={"draft": draft}),
            methods.EmailSubmissionSet(
                on_success_destroy_email=["#sent"],
                create={
                    "sent": jmapc.EmailSubmission(
                        email_id="#draft",
                        identity_id=who.id,
                        envelope=jmapc.Envelope(
                            mail_from=jmapc.Address(email=address),
                            rcpt_to=[jmapc.Address(email=address)],
                        ),
                    )
                },
            ),
        ],
        raise_errors=True,
    )
    assert results[1].response.created["sent"].undo_status == jmapc.UndoStatus.FINAL
    listener.join(30)
    assert heard[1].data.changed[client.account_id].email

    condition = jmapc.EmailQueryFilterCondition(text="sweet", in_mailbox=boxes["inbox"])
    found = client.request(
        [
            methods.EmailQuery(filter=condition, collapse_threads=True, limit=5),
            methods.EmailGet(
                ids=jmapc.Ref("/ids"), properties=["subject", "threadId", "mailboxIds", "from"]
            ),
        ],
        raise_errors=True,
    )
    (email,) = found[1].response.data
    assert email.subject == "Cherries"
    assert email.mail_from[0].name == "Jmapc"
    (thread,) = client.request(methods.ThreadGet(ids=[email.thread_id])).data
    assert email.id in thread.email_ids
    moved = client.request(
        methods.EmailSet(update={email.id: {"mailboxIds": {boxes["archive"]: True}}})
    )
    assert email.id in moved.updated
    drafts = client.request(methods.EmailQuery(
        filter=jmapc.EmailQueryFilterCondition(in_mailbox=boxes["drafts"])
    ))  # fmt: skip
    assert drafts.ids == []  # it was sent, and destroyed
