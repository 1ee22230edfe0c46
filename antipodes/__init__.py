"""DynamoDB Streams and Global Tables on your own machines.

`connect` opens the SDK's synchronous client, `antipodes.aio.connect` the asynchronous one.
"""
