//! Sockets and DNS.
