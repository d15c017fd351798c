# Every conformance case with registry, sources, spine and output on a real S3 store.
export BACKSIGHT_TEST_S3_ENDPOINT="$AWS_ENDPOINT_URL" BACKSIGHT_TEST_S3_ACCESS_KEY="$AWS_ACCESS_KEY_ID"
export BACKSIGHT_TEST_S3_SECRET_KEY="$AWS_SECRET_ACCESS_KEY" BACKSIGHT_TEST_S3_BUCKET=backsight
log=$(mktemp)
cargo test --workspace --locked --lib -- --nocapture registry_sources_spine_and_output_on_s3 | tee "$log"
# A filter that matches nothing passes, too.
grep -q '^conformance, S3 at .*: 52 cases' "$log"
