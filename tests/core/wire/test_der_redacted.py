"""A message may hide what it holds: `Redacted` is a base of it like any other."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Annotated

import pytest

from securestream.redaction import Redacted
from securestream.wire import der


@dataclass(frozen=True, repr=False)
class Hidden(Redacted, der.Message):
    key: Annotated[bytes, der.explicit(0)]


def test_a_redacted_message_is_coded_as_any_other_and_hides_its_octets() -> None:
    message = Hidden(b"a secret")
    decoded = Hidden.decode(message.encode())
    assert decoded == message
    assert repr(decoded) == "Hidden(key=<8 octets>)"


def test_a_decoded_redacted_message_refuses_to_be_copied_out() -> None:
    with pytest.raises(TypeError, match="secret"):
        asdict(Hidden.decode(Hidden(b"a secret").encode()))
