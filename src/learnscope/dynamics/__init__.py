"""How networks learn: gradient descent and flow, direct and in closed or reduced form, batched over independent networks."""
