-- Ends of the Wilson 95 % interval of a share of n images (E. B. Wilson 1927).
CREATE OR REPLACE MACRO wilson_half(share, n) AS
  1.959963984540054 / (1 + 1.959963984540054 ** 2 / n)
  * sqrt(share * (1 - share) / n + 1.959963984540054 ** 2 / (4 * n ** 2));
CREATE OR REPLACE MACRO wilson_centre(share, n) AS
  (share + 1.959963984540054 ** 2 / (2 * n)) / (1 + 1.959963984540054 ** 2 / n);
CREATE OR REPLACE MACRO wilson_low(share, n) AS
  greatest(0, wilson_centre(share, n) - wilson_half(share, n));
CREATE OR REPLACE MACRO wilson_high(share, n) AS
  least(1, wilson_centre(share, n) + wilson_half(share, n));
