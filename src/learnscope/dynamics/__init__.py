"""How networks learn: gradient descent and flow, direct or in closed or reduced form, batched over many networks."""
