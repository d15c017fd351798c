# Daily commands. `.ci/run` is the check before a merge and is what these call.

python := "python3"

# Format, lints, licences and bans.
check:
    .ci/run format lint deny

# The README's test command.
test:
    cargo test --workspace

# Backsight beside its peers on a workload (tiny, train, …), with a Python that has duckdb, polars and pyarrow.
bench name *options:
    cargo build --release -p backsight
    {{python}} benches/run_peers.py {{name}} {{options}}

# Writes anew what is generated and held by tests; needs a Python with Feast 0.67. Read the difference before committing it.
approve:
    {{python}} tests/feast_descriptors.py --write

# The crates' documentation.
docs:
    cargo doc --workspace --no-deps

# Everything that runs before a merge.
ci:
    .ci/run
