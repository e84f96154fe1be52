import jax, jax.numpy as jnp
def start(eigenvalues, target_power, optimizer):
    e = jnp.asarray(optimizer.weights, eigenvalues.dtype)
    p = jnp.where(eigenvalues>0, target_power/jnp.where(eigenvalues>0,eigenvalues,1),0)
    return p[:,None,None]*jnp.outer(e,e)
def loss_of(m, eigenvalues, optimizer, *, unreachable):
    o = jnp.asarray(optimizer.loss_at, eigenvalues.dtype)
    return 0.5*(unreachable+jnp.sum(eigenvalues*jnp.einsum('i,dij,j->d',o,m,o)))
def advance(m, eigenvalues, s, *, batch_size, unreachable):
    x = s.carry + eigenvalues[:,None,None]*jnp.outer(s.push,s.read)
    a = jnp.einsum('i,dij,j->d', s.read,m,s.read)
    n = (eigenvalues**2*a+eigenvalues*(unreachable+jnp.sum(eigenvalues*a)))/batch_size
    return x@m@x.swapaxes(-1,-2)+n[:,None,None]*jnp.outer(s.push,s.push)
