"""Every limit in one place, with its source.

Sources: [C] DynamoDB developer guide "Constraints in Amazon DynamoDB"; [Q] the same, "Quotas in
Amazon DynamoDB"; [M] the operation model that botocore ships; [O] our own choice.
"""

KIB = 1024
MIB = 1024 * 1024

ITEM_SIZE_BYTES_MAX = 400 * KIB
"""Names and values of one item together. [C]"""
PARTITION_KEY_BYTES_MAX = 2048
"""[C]"""
SORT_KEY_BYTES_MAX = 1024
"""[C]"""
ATTRIBUTE_NAME_BYTES_MAX = 65_535
"""[C]"""
KEY_NAME_BYTES_MAX = 255
"""Names of key attributes. [C]"""
NESTING_DEPTH_MAX = 32
"""Maps and lists inside one another. [C]"""
NUMBER_DIGITS_MAX = 38
"""Significant digits. [C]"""
NUMBER_EXPONENT_MAX = 125
"""Of the leading digit. [C]"""
NUMBER_EXPONENT_MIN = -130
"""Of the leading digit. [C]"""
TABLE_NAME_PATTERN = r"[a-zA-Z0-9_.-]+"
"""[C]"""
TABLE_NAME_LENGTH_MIN = 3
"""[C]"""
TABLE_NAME_LENGTH_MAX = 255
"""[C]"""
BATCH_WRITE_REQUESTS_MAX = 25
"""[M]"""
BATCH_GET_KEYS_MAX = 100
"""[M]"""
BATCH_GET_BYTES_MAX = 16 * MIB
"""Size of one answer; the rest is unprocessed. [M]"""
PAGE_BYTES_MAX = MIB
"""What one Query or Scan reads at most. [C]"""
LIST_TABLES_LIMIT_MAX = 100
"""[M]"""
REGIONS_MAX = 16
"""Regions of one cluster. [O]"""

REPLICATION_BATCH_BYTES_MAX = MIB
"""Aim of one Batch message; one transaction may exceed it. [O]"""
REPLICATION_BATCH_ENTRIES_MAX = 1000
"""[O]"""
REPLICATION_UNACKNOWLEDGED_BYTES_MAX = 8 * MIB
"""What a sender keeps in flight to one receiver. [O]"""
MESSAGE_BYTES_MAX = 64 * MIB
"""Largest gRPC message: a transaction of 100 items of 400 KiB fits. [O]"""
DRIFT_MS_MAX = 500
"""A received clock further ahead than this is not adopted. [O]"""
STREAM_SHARDS = 4
"""Hash shards of a new stream. [O]"""
