"""The gRPC door: servicers translate, call the service, and translate back."""
