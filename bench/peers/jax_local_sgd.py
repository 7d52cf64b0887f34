"""Local SGD in JAX: loops over rounds and steps, all workers' iterates in one array, one compiled call. Period 256.

Tuned: XLA runs a loop's body operation by operation unless the loop is small, and compiles it whole only below a
threshold; raised, all takes 0.45x at d = 20 and 100, 0.65x at 1,000. Rows are indexed in loops, in the order of the
steps (0.6 to 0.8x of scan and vmap over workers), two steps a turn (0.95x; four gained no more). Margins of all
workers by one einsum or a dot each, the sooner by trial: they differ at P = 8 only, by 1.35x for einsum at d = 100,
by 1.2x against it at 1,000.

Tried in vain: sums of products, in lanes or not, the compiler's fast-math and 512-bit vectors (1.0x), W and its sum
in one array (1.2x). Of two cores it uses one: shard_map over two devices, or an executable on each with donated
buffers and the mean on the host, cost some 50 and 150 us a round, in all 1.2 to 10x.
"""

import os

import numpy as np

from ._choice import soonest

NEEDS = "jax"
SAME_ARITHMETIC = True
NEAR = 1e-4
N_WORKERS = (2, 8)
PERIOD = 256
WHOLE_LOOPS = "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=1000000000000"


def prepare(problem, n_workers):
    if WHOLE_LOOPS not in os.environ.get("XLA_FLAGS", ""):  # read when JAX compiles first
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {WHOLE_LOOPS}".strip()
    import jax
    import jax.numpy as jnp

    from fastlsgd.benchmarks.problems import step as step_of

    P, d = n_workers, problem.n_params
    eta, l2 = np.float32(step_of(problem).eta), np.float32(problem.l2)
    shard = problem.n_samples // P
    period = min(PERIOD, shard)
    n_rounds = shard // period
    n_steps = n_rounds * period
    X = jnp.asarray(np.ascontiguousarray(problem.X[: P * shard].reshape(P, shard, -1)[:, :n_steps].swapaxes(0, 1)))
    y = jnp.asarray(np.ascontiguousarray(problem.y[: P * shard].reshape(P, shard)[:, :n_steps].T))

    def compiled(margins):
        def step(t, W, total, X, y):
            slope = -y[t] / (1 + jnp.exp(y[t] * margins(X[t], W)))
            W = W - (eta * slope[:, None] * X[t] + eta * l2 * W)
            return W, total + W

        @jax.jit
        def run(X, y):
            def a_round(r, carry):
                def a_step(i, carry):
                    return step(r * period + i, *carry, X, y)

                W, total = jax.lax.fori_loop(0, period, a_step, carry, unroll=2)
                return jnp.broadcast_to(W.mean(axis=0), W.shape), total

            _, total = jax.lax.fori_loop(0, n_rounds, a_round, (jnp.zeros((P, d)), jnp.zeros((P, d))))
            return total.mean(axis=0) / n_steps

        ready = run.lower(X, y).compile()
        return lambda: np.asarray(ready(X, y).block_until_ready())

    _, fit = soonest({
        "together": compiled(lambda x, W: jnp.einsum("kj,kj->k", x, W)),
        "apart": compiled(lambda x, W: jnp.stack([x[k] @ W[k] for k in range(P)])),
    })  # fmt: skip
    fit.n_gradients = P * n_steps
    return fit
