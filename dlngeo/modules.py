"""Another name of `dlngeo.torch`, from before there were optimisers in it."""

from dlngeo.torch.balancing import balance_module as balance_module
