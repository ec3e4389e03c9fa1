"""`python -m infrastructure.cli`."""

from infrastructure.cli.main import main

main(prog_name="postledger")
