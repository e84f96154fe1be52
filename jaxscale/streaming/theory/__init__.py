import jax.numpy as jnp
from jaxscale._roots import bisect
def kernel_norm(eta, lam, batch_size=1, momentum=0.0):
    x=eta*lam
    return jnp.sum(x/(2*batch_size-(batch_size+1)*x))
def max_learning_rate(lam, *, batch_size=1, momentum=0.0):
    hi=2*batch_size/((batch_size+1)*jnp.max(lam))
    return bisect(lambda e: kernel_norm(e,lam,batch_size)<1, 0*hi, hi, 60)
def noise_floor(lam,*,unreachable,learning_rate,batch_size=1,momentum=0.0):
    return unreachable/2/(1-kernel_norm(learning_rate,lam,batch_size))
