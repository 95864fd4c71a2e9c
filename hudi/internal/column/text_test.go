package column

import (
	"math"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// The texts are what Java 17 printed.
func TestJavaText(t *testing.T) {
	doubles := map[string]float64{
		"1.0": 1, "0.1": 0.1, "1.0E7": 1e7, "1.234E7": 1.234e7, "9999999.0": 9999999, "0.001": 0.001, "9.999E-4": 0.0009999,
		"1.0E-5": 1e-5, "-0.0": math.Copysign(0, -1), "1.0E21": 1e21, "1.2345678901234568E17": 123456789012345680.0,
		"4.9E-324": math.SmallestNonzeroFloat64, "1.7976931348623157E308": math.MaxFloat64, "100.0": 100, "4.35": 4.35,
		"2.2250738585072014E-308": 2.2250738585072014e-308, "9.007199254740992E15": 9007199254740992,
		"NaN": math.NaN(), "Infinity": math.Inf(1), "-Infinity": math.Inf(-1), "-1.0E-10": -1e-10,
	}
	for want, v := range doubles {
		if got := string(appendFloat(nil, v, 64)); got != want {
			t.Errorf("double %v: %s, want %s", v, got, want)
		}
	}
	floats := map[string]float32{
		"1.0": 1, "0.1": 0.1, "1.0E7": 1e7, "1.6777216E7": 16777216, "0.001": 1e-3, "1.0E-4": 1e-4,
		"3.4028235E38": math.MaxFloat32, "1.4E-45": math.SmallestNonzeroFloat32, "123456.7": 123456.7,
	}
	for want, v := range floats {
		if got := string(appendFloat(nil, float64(v), 32)); got != want {
			t.Errorf("float %v: %s, want %s", v, got, want)
		}
	}
	dates := map[string]arrow.Date32{
		"1970-01-01": 0, "1969-12-31": -1, "0000-01-01": -719528, "-0001-12-31": -719529, "9999-12-31": 2932896,
		"+10000-01-01": 2932897, "-0221-09-04": -800000, "2000-03-01": 11017, "+15659-07-15": 5000000, "-0768-02-04": -1000000,
	}
	for want, v := range dates {
		if got := string(appendDate(nil, v)); got != want {
			t.Errorf("date %d: %s, want %s", v, got, want)
		}
	}
	low := decimal128.New(math.MinInt64, 0)
	if got, want := string(appendDecimal(nil, low, 0)), "-170141183460469231731687303715884105728"; got != want {
		t.Errorf("decimal: %s, want %s", got, want)
	}
}
