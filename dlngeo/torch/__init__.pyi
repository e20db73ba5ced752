from .balancing import balance_module as balance_module
