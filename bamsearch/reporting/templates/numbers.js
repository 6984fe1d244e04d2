// Numbers as bamsearch/reporting/text.py writes them.
"use strict";
const numbers = (() => {
  // JavaScript rounds half up, Python half to even. Thirty more digits show whether it is a half;
  // the doubles here have no more than that.
  function halfToEven(rounded, longer) {
    const truncated = longer.slice(0, -30).replace(/\.$/, "");
    const half = longer.endsWith(`5${"0".repeat(29)}`);
    return half && "02468".includes(truncated.at(-1)) ? truncated : rounded;
  }

  const fixed = (value, digits) => halfToEven(value.toFixed(digits), value.toFixed(digits + 30));

  function giga(count) {
    const value = count / 1e9;
    return fixed(value, value === 0 ? 3 : Math.max(3, 1 - Math.floor(Math.log10(value))));
  }

  const mega = (count) => `${fixed(count / 1e6, 3)} M`;

  function scoreText(score) {
    if (score === 0) return "0";
    const digits = Math.floor(Math.log10(Math.abs(score)));
    if (digits < 9 && digits >= -4) {
      const [whole, part] = fixed(score, Math.max(0, 4 - digits)).split(".");
      const thousands = whole.replace(/\B(?=(\d{3})+$)/g, ",");
      return part === undefined ? thousands : `${thousands}.${part}`;
    }
    const [rounded, exponent] = score.toExponential(4).split("e");
    const mantissa = halfToEven(rounded, score.toExponential(34).split("e")[0]);
    return `${mantissa}e${exponent[0]}${exponent.slice(1).padStart(2, "0")}`;
  }

  return { fixed, giga, mega, scoreText };
})();
