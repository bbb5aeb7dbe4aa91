"""How often the monitor of ``pfopt.control`` is wrong, how soon it is right, and what stopping by it saves."""
