/**
 * The normal distribution, which the exact GELU is made of: in f64 for the meaning of ops, and its error function in f32 for their WGSL.
 */

/** erf in WGSL, as x * P(x^2) / Q(x^2) on [-4, 4], where f32 rounds erf(4) to 1: coefficients of Eigen's float erf, error below 4e-7. */
export const ERF = `
fn erf_approx(value: f32) -> f32 {
  let x = clamp(value, -4.0, 4.0);
  let t = x * x;
  var a = t * -2.72614225801306e-10 + 2.77068142495902e-08;
  a = t * a - 2.10102402082508e-06;
  a = t * a - 5.69250639462346e-05;
  a = t * a - 7.34990630326855e-04;
  a = t * a - 2.95459980854025e-03;
  a = t * a - 1.60960333262415e-02;
  var b = t * -1.45660718464996e-05 - 2.13374055278905e-04;
  b = t * b - 1.68282697438203e-03;
  b = t * b - 7.37332916720468e-03;
  b = t * b - 1.42647390514189e-02;
  return x * a / b;
}
`;

/** erf in f64 by its series (|x| < 3) or its continued fraction: about 1e-15. */
function erf(x: number): number {
  const z = Math.abs(x);
  if (z > 6) return Math.sign(x);
  if (z < 3) {
    let term = z, sum = z;
    for (let n = 1; Math.abs(term) > 1e-17 * sum && n < 200; n++) {
      term *= -z * z / n;
      sum += term / (2 * n + 1);
    }
    return Math.sign(x) * 2 / Math.sqrt(Math.PI) * sum;
  }
  let fraction = 0;
  for (let n = 60; n >= 1; n--) fraction = n / 2 / (z + fraction);
  return Math.sign(x) * (1 - Math.exp(-z * z) / Math.sqrt(Math.PI) / (z + fraction));
}

/** The share of the normal distribution below x, in f64. */
export const gaussian = (x: number) => 0.5 * (1 + erf(x / Math.SQRT2));
/** The density of the normal distribution at x, in f64. */
export const density = (x: number) => Math.exp(-x * x / 2) / Math.sqrt(2 * Math.PI);
