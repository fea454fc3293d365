//! Content-addressed blobs: store, server and client of the data plane.
