//! The balancer as its clients and backends see it, over real sockets.
