//! An S3 server inside the test process: signed HTTP on a local port, atomic conditional writes, faults on demand.
