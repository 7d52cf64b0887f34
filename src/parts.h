/* Scalar floor, part 4: logistic losses taken apart, log(1 + exp(-y z)) = log(1 + q) + rest, so
 * that passes over the data multiply many factors 1 + q before they take one logarithm.
 *
 * One text for a number (losses.h includes it so) and for a vector of them (margins.h), the same
 * bits: D a type of doubles, U of as many 64-bit words, PN a name; BITS and DOUBLE turn one into the
 * other, WHERE makes all ones where a comparison holds. Values are chosen by bits: a choice of
 * values becomes a branch.
 */

/* log((1 + s) / (1 - s)) = 2 (s + s^3/3 + s^5/5 + ...), |s| <= 1/3: Chebyshev interpolation
 * of (atanh(s) / s - 1) / s^2 in s^2, relative error 5e-18. */
static inline D PN(two_atanh)(D s)
{
    const D z = s * s;
    D p = 0x1.4b0a26c5f2aefp-4 * z + 0x1.687a6e7c95176p-5;
    p = p * z + 0x1.eb905e8575054p-5;
    p = p * z + 0x1.10ac75dc602b1p-4;
    p = p * z + 0x1.3b18b294bebf9p-4;
    p = p * z + 0x1.745cf0b0e03bdp-4;
    p = p * z + 0x1.c71c727143318p-4;
    p = p * z + 0x1.24924923d44c6p-3;
    p = p * z + 0x1.999999999a3ddp-3;
    p = p * z + 0x1.5555555555555p-2;
    return 2.0 * s + (2.0 * s) * (z * p);
}

/* log(1 + u) of finite u > -1, accurate for tiny u: as fl_log has it, but where no power of two is
 * taken out the mantissa less 1 is u itself. Nothing converts k: older sets convert no 64-bit integers. */
static inline D PN(log1p)(D u)
{
    const U bits = BITS(1.0 + u), biased = (bits + (0x3ff0000000000000ull - 0x3fe6a09e667f3bcdull)) >> 52;
    const D k = DOUBLE(biased | 0x4330000000000000ull) - (0x1p52 + 1023.0);
    const D rounded = DOUBLE(bits + ((1023u - biased) << 52)) - 1.0;
    const U plain = WHERE(k == 0.0);
    const D f = DOUBLE((BITS(u) & plain) | (BITS(rounded) & ~plain));
    return k * 0x1.62e42feep-1 + (k * 0x1.a39ef35793c76p-33 + PN(two_atanh)(f / (f + 2.0)));
}

/* The same for -1/2 <= u <= 1, sooner. */
static inline D PN(log1p_small)(D u) { return PN(two_atanh)(u / (u + 2.0)); }

/* exp(x) = scale + scale * part for |x| <= 708: part = exp(r) - 1, |r| <= ln(2)/2, by Chebyshev interpolation
 * of (exp(r) - 1 - r - r^2/2) / r^3, relative error 8e-17; in powers of r^2 (Estrin) to shorten the chain. Shorter
 * than fl_exp, whose bits are those of runs; and scale * part + (scale - 1) is exp(x) - 1, accurate for tiny x. */
static inline D PN(exp_part)(D x, D *scale)
{
    const D shifted = x * 0x1.71547652b82fep+0 + FL_ROUND_D;
    const D k = shifted - FL_ROUND_D;
    const D r = (x - k * 0x1.62e42feep-1) - k * 0x1.a39ef35793c76p-33;
    const D r2 = r * r, r4 = r2 * r2;
    const D c2 = 0.5 + r * 0x1.5555555555555p-3;
    const D c4 = 0x1.5555555554cb8p-5 + r * 0x1.1111111110e6bp-7;
    const D c6 = 0x1.6c16c1738ecfbp-10 + r * 0x1.a01a01a4b26e5p-13;
    const D c8 = 0x1.a019c9ab1fc2ep-16 + r * 0x1.71de17e795273p-19;
    const D c10 = 0x1.28803928d2558p-22 + r * 0x1.af2360e48b4ffp-26;
    *scale = DOUBLE((BITS(shifted) + 1023u) << 52);
    return r + r2 * ((c2 + r2 * c4) + r4 * ((c6 + r2 * c8) + r4 * c10));
}

/* (1 + q) (1 + by) - 1: as accurate for tiny q as for large ones. */
static inline D PN(times)(D q, D by) { return q + (by + q * by); }

/* With m = y z, q = exp(-|m|), 0 beyond 708, and rest = -min(m, 0); a NaN stays in both. */
static inline D PN(logistic_parts)(D m, D *rest)
{
    const D size = DOUBLE(BITS(m) & 0x7fffffffffffffffull);
    D scale;
    const D part = PN(exp_part)(-size, &scale);
    *rest = 0.5 * (size - m);
    return DOUBLE(BITS(scale + scale * part) & ~WHERE(size > 708.0));
}

/* The derivative in z from the same q: -y / (1 + exp(m)). */
static inline D PN(logistic_slope)(D m, D q, D y)
{
    const U negative = WHERE(m < 0.0);
    return -y * (DOUBLE((BITS(0.0 * m + 1.0) & negative) | (BITS(q) & ~negative)) / (1.0 + q));
}

/* The parts of loss(z + u) - loss(z) for steps |u| <= FL_NEAR: log(1 + q) + rest is right to a few ulp of itself
 * however small u is. Where m >= 0, p = 1 / (1 + exp(|m|)) and t = -y u give q = p (exp(t) - 1) >= -1/2; where
 * m < 0 the same with t = y u, and rest = -t. Of longer steps t would dwarf the losses: those take their difference.
 * What depends on z alone is handed in, there are many u; share is -1 where m < 0, else 0. */
static inline D PN(logistic_change_parts)(D p, D share, D t, D *rest)
{
    D scale;
    const D part = PN(exp_part)(t, &scale);
    *rest = share * t;
    return p * (scale * part + (scale - 1.0));
}

#undef D
#undef U
#undef PN
#undef BITS
#undef DOUBLE
#undef WHERE
