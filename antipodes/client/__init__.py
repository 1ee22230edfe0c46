"""The SDK: what `antipodes.connect` and `antipodes.aio.connect` open."""
