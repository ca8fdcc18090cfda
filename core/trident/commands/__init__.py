"""The subcommands of ``trident``, one a module. Each imports what it needs when it runs."""
