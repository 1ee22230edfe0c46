"""The HTTP door: DynamoDB's own JSON protocol; translation only."""
