# Real Feast reads, describes and retrieves from a registry that Backsight wrote; and our list of Feast's wire fields is
# still Feast's own.
"$PYTHON" tests/feast_descriptors.py
"$PYTHON" tests/feast_reads_registry.py --apply "$BACKSIGHT --chdir {repo} apply --yes"
