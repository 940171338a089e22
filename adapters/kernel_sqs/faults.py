"""What an exception of boto3 means to the kernel. No message here holds a secret.

The codes are those of the SQS API reference ("Common Error Types" and each action); a name space before the last dot
("AWS.SimpleQueueService.", "KMS.") is left out, because old and new protocol differ in it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from botocore import exceptions as boto

from kernel.errors import ConfigError, KernelError, PortError, Rejected, Sent, Unavailable

#: Everything that a call of a client raises.
RAISED = (boto.BotoCoreError, boto.ClientError)

#: The queue is not there, or not yet, or was deleted.
GONE = frozenset({"NonExistentQueue", "QueueDoesNotExist"})
#: A receipt handle that settles nothing any more.
STALE = frozenset({"ReceiptHandleIsInvalid", "MessageNotInflight", "InvalidParameterValue", "InvalidIdFormat"})
#: The service is asked for too much, or too soon after a deletion; nothing was done.
_BUSY = frozenset(
    {
        "KmsThrottled",
        "OverLimit",
        "QueueDeletedRecently",
        "RequestLimitExceeded",
        "RequestThrottled",
        "SlowDown",
        "Throttling",
        "ThrottledException",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
#: The identity is known and may not do this. The text of the service says who, what and on which queue.
DENIED = frozenset({"AccessDenied", "AccessDeniedException", "NotAuthorized", "UnauthorizedOperation"})
#: The identity is unknown or wrong. The text of the service can hold the signed request, and so is not shown.
_UNKNOWN = frozenset(
    {
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSecurity",
        "MissingAuthenticationToken",
        "OptInRequired",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
#: The identity was right once. Refreshed by boto3 where they can be, so the same call may work later.
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})

_CREDENTIALS = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.ProfileNotFound,
    boto.TokenRetrievalError,
    boto.UnauthorizedSSOTokenError,
    boto.ConfigParseError,
)
_REGION = (boto.NoRegionError, boto.InvalidRegionError, boto.UnknownRegionError)
#: No connection came about, so nothing was done.
_UNREACHED = (boto.EndpointConnectionError, boto.ConnectTimeoutError, boto.ProxyConnectionError, boto.SSLError)

_SIGN_IN = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile with ?profile=, or give the machine a role"


def code_of(error: BaseException) -> str:
    """The error code of the service without its name space; "" where the service said nothing."""
    if isinstance(error, boto.ClientError):
        return str(error.response.get("Error", {}).get("Code", "")).rpartition(".")[2]
    return ""


def is_answer(error: PortError) -> bool:
    """Whether the service itself said no: what fails on the way, or within the service, has no word of it."""
    return error.sent == "no" and isinstance(error.__cause__, boto.ClientError)


def translate(error: Exception, what: str) -> PortError:
    """The port's error for one that a call raised. `what` names the call and its queue."""
    if isinstance(error, boto.ClientError):
        return _said(error, what)
    if isinstance(error, _CREDENTIALS):
        return Unavailable(f"{what}: no credentials ({type(error).__name__}); {_SIGN_IN}")
    if isinstance(error, _UNREACHED):
        return Unavailable(f"{what}: {error}")
    if isinstance(error, (*_REGION, boto.ParamValidationError)):
        return Rejected(f"{what}: {error}")
    return Unavailable(f"{what}: {error}", sent="unknown")


def _said(error: boto.ClientError, what: str) -> PortError:
    code = code_of(error)
    text = error.response.get("Error", {}).get("Message", "")
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if code in GONE:
        return Unavailable(f"{what}: the queue is not there ({code})")
    if code in _BUSY:
        return Unavailable(f"{what}: {code}")
    if code in _EXPIRED:
        return Unavailable(f"{what}: the credentials have expired ({code}); renew them")
    if code in _UNKNOWN:
        return Rejected(f"{what}: the credentials are refused ({code}); {_SIGN_IN}")
    if code in DENIED:
        return Rejected(f"{what}: {code}: {text}")
    if status >= 500 or not code:
        return Unavailable(f"{what}: {code or status}: {text}", sent="unknown")
    return Rejected(f"{what}: {code}: {text}")


def translate_opening(error: Exception, what: str) -> KernelError:
    """The error of `open`: most of what can go wrong there is for the operator to mend."""
    code = code_of(error)
    if isinstance(error, _CREDENTIALS):
        return ConfigError(f"{what}: no credentials ({type(error).__name__}); {_SIGN_IN}")
    if isinstance(error, _REGION):
        return ConfigError(f"{what}: no region ({error}); add ?region= to the URL or set AWS_DEFAULT_REGION")
    if code in _UNKNOWN | _EXPIRED:
        return ConfigError(f"{what}: the credentials are refused ({code}); {_SIGN_IN}")
    if code in DENIED:
        text = error.response.get("Error", {}).get("Message", "") if isinstance(error, boto.ClientError) else ""
        return ConfigError(f"{what}: {code}: {text}; docs/sqs.md lists the rights, and queue.<name>= needs the fewest")
    return translate(error, what)


def failure(entry: Mapping[str, Any], what: str) -> PortError:
    """The port's error for one failed entry of a batch (`BatchResultErrorEntry`)."""
    code, text = str(entry.get("Code", "")).rpartition(".")[2], entry.get("Message", "")
    if entry.get("SenderFault") and code not in _BUSY:
        return Rejected(f"{what}: {code}: {text}")
    sent: Sent = "no" if code in _BUSY else "unknown"
    return Unavailable(f"{what}: {code}: {text}", sent=sent)
