"""The HTTP port: DynamoDB's own protocol, passed on to a region unparsed."""
