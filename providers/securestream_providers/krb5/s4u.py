"""S4U messages: a service asks for a ticket in a user's name ([MS-SFU] 2.2)."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Annotated, Final

from securestream.errors import BadSignature
from securestream.wire import der
from securestream_providers.krb5.keys import Key, hmac_md5_checksum
from securestream_providers.krb5.messages import (
    Checksum,
    KerberosFlags,
    KerberosString,
    PaData,
    PrincipalName,
    UInt32,
)
from securestream_providers.krb5.names import KerberosName
from securestream_providers.krb5.numbers import ChecksumType, KeyUsage, PaType

PACKAGE: Final = "Kerberos"
"""The auth-package that PA-FOR-USER names ([MS-SFU] 2.2.1)."""

SIGNED_BY_KDC: Final = 0x20000000
"""S4UUserID option: the KDC signs its reply with usage 27 ([MS-SFU] 2.2.2)."""

RESOURCE_BASED: Final = 0x10000000
"""PA-PAC-OPTIONS bit: resource-based constrained delegation ([MS-SFU] 2.2.5)."""


@dataclass(frozen=True)
class PaForUser(der.Message):
    """PA-FOR-USER ([MS-SFU] 2.2.1)."""

    user_name: Annotated[PrincipalName, der.explicit(0)]
    user_realm: Annotated[KerberosString, der.explicit(1)]
    cksum: Annotated[Checksum, der.explicit(2)]
    auth_package: Annotated[KerberosString, der.explicit(3)]


@dataclass(frozen=True)
class S4uUserId(der.Message, extensible=True):
    """S4UUserID ([MS-SFU] 2.2.2)."""

    nonce: Annotated[UInt32, der.explicit(0)]
    cname: Annotated[PrincipalName | None, der.explicit(1)]
    crealm: Annotated[KerberosString, der.explicit(2)]
    subject_certificate: Annotated[bytes | None, der.explicit(3)] = None
    options: Annotated[KerberosFlags | None, der.explicit(4)] = None


@dataclass(frozen=True)
class PaS4uX509User(der.Message):
    """PA-S4U-X509-USER ([MS-SFU] 2.2.2)."""

    user_id: Annotated[bytes, der.explicit(0), der.Raw()]
    checksum: Annotated[Checksum, der.explicit(1)]


def _covered(user: KerberosName, package: str) -> bytes:
    """What the checksum of PA-FOR-USER covers: type, components, realm and package, with nothing between."""
    texts = (*user.components, user.realm, package)
    return (user.name_type & 0xFFFFFFFF).to_bytes(4, "little") + "".join(texts).encode()


def make_for_user(user: KerberosName, session_key: Key) -> PaData:
    """PA-FOR-USER for `user`, with the checksum of the TGT's session key, always of type -138."""
    checksum = Checksum(
        ChecksumType.HMAC_MD5,
        hmac_md5_checksum(session_key, KeyUsage.NON_KERB_CHECKSUM_SALT, _covered(user, PACKAGE)),
    )
    value = PaForUser(user.principal_name, user.realm, checksum, PACKAGE)
    return PaData(PaType.FOR_USER, value.encode())


def read_for_user(value: bytes, session_key: Key) -> KerberosName:
    """The user that a PA-FOR-USER names.

    Raises:
        BadSignature: its checksum is not the keyed one of the session key (CVE-2018-16860).
        MalformedMessage: it is no PA-FOR-USER.
    """
    found = PaForUser.decode(value)
    user = KerberosName.of(found.user_name, found.user_realm)
    covered = _covered(user, found.auth_package)
    kind = found.cksum.cksumtype
    if kind in (ChecksumType.HMAC_MD5, 0xFFFFFF76):
        expected = hmac_md5_checksum(session_key, KeyUsage.NON_KERB_CHECKSUM_SALT, covered)
        if not hmac.compare_digest(expected, found.cksum.checksum):
            raise BadSignature("the checksum of PA-FOR-USER is wrong")
    else:  # Heimdal's and Samba's clients may use the key's own type
        session_key.verify(KeyUsage.NON_KERB_CHECKSUM_SALT, covered, found.cksum.checksum, kind)
    return user


def make_s4u_x509_user(user: KerberosName, nonce: int, key: Key) -> PaData:
    """PA-S4U-X509-USER for a user known by name.

    Args:
        user: whom the ticket is to name.
        nonce: of the request's body.
        key: the subkey of the TGS-REQ's authenticator.
    """
    identity = S4uUserId(nonce, user.principal_name, user.realm, None, SIGNED_BY_KDC).encode()
    checksum = Checksum(key.checksum_type, key.checksum(KeyUsage.S4U_X509_USER_REQUEST, identity))
    return PaData(PaType.S4U_X509_USER, PaS4uX509User(identity, checksum).encode())


def read_s4u_x509_user(value: bytes, key: Key, nonce: int, *, usage: int = KeyUsage.S4U_X509_USER_REQUEST) -> S4uUserId:
    """The user of a PA-S4U-X509-USER.

    Args:
        value: as received.
        key: the subkey, or the session key where there is none.
        nonce: of the request's body.
        usage: 26 in requests, 27 in replies.

    Raises:
        BadSignature: the checksum is wrong or not keyed, or it belongs to another request.
        MalformedMessage: it is no such structure.
    """
    found = PaS4uX509User.decode(value)
    key.verify(usage, found.user_id, found.checksum.checksum, found.checksum.cksumtype)
    identity = S4uUserId.decode(found.user_id)
    if identity.nonce != nonce:
        raise BadSignature("PA-S4U-X509-USER belongs to another request")
    return identity


def answer_s4u_x509_user(value: bytes, key: Key) -> PaData:
    """The KDC's PA-S4U-X509-USER: the same identity under usage 27, or 26 without the option ([MS-SFU] 2.2.2)."""
    found = PaS4uX509User.decode(value)
    options = S4uUserId.decode(found.user_id).options or 0
    usage = KeyUsage.S4U_X509_USER_REPLY if options & SIGNED_BY_KDC else KeyUsage.S4U_X509_USER_REQUEST
    checksum = Checksum(key.checksum_type, key.checksum(usage, found.user_id))
    return PaData(PaType.S4U_X509_USER, PaS4uX509User(found.user_id, checksum).encode())
