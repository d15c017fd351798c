# Real Feast reads, describes and retrieves from a registry that Backsight wrote; a registry that Feast wrote becomes
# definitions and can be rolled back; and our list of Feast's wire fields is still Feast's own.
"$PYTHON" tests/feast_descriptors.py
"$PYTHON" tests/feast_reads_registry.py --apply "$BACKSIGHT --chdir {repo} apply --yes"
"$PYTHON" tests/feast_moves_over.py --backsight "$BACKSIGHT"
