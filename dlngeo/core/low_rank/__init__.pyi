from .sampled_products import sampled_product as sampled_product
