"""`python -m dsnn_hpo` is `dsnn-hpo`."""

from dsnn_hpo.cli import main

main()
