//! Authentication exchanges, pure: bytes and chance in, bytes and verdicts out.
