from pyg_vig.cli.main import main

main()
