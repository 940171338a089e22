"""Keys for messages: Ed25519 and HMAC-SHA256 sign them, AES-256-GCM makes them unreadable too."""

from kernel_seal.ring import Ring

__all__ = ["Ring"]
