"""Tests of the real processes' parts: real gRPC, real LMDB, real sockets."""
