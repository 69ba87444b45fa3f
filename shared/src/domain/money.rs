//! Amounts: whole numbers of a currency's smallest unit. Refuses floats, rounding and mixed currencies.

use std::fmt;

/// A currency of the table; the exponent comes from here alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Currency {
    /// Tether, six decimals.
    Usdt,
    /// US dollar, two decimals.
    Usd,
    /// Renminbi, two decimals.
    Cny,
    /// Euro, two decimals.
    Eur,
    /// Yen, no decimals.
    Jpy,
}

impl Currency {
    /// Every currency of the table.
    pub const ALL: [Currency; 5] =
        [Currency::Usdt, Currency::Usd, Currency::Cny, Currency::Eur, Currency::Jpy];

    /// The upper-case code, as in requests and answers.
    pub const fn code(self) -> &'static str {
        match self {
            Currency::Usdt => "USDT",
            Currency::Usd => "USD",
            Currency::Cny => "CNY",
            Currency::Eur => "EUR",
            Currency::Jpy => "JPY",
        }
    }

    /// Decimals of the minor unit.
    pub const fn exponent(self) -> u32 {
        match self {
            Currency::Usdt => 6,
            Currency::Usd | Currency::Cny | Currency::Eur => 2,
            Currency::Jpy => 0,
        }
    }

    /// The largest amount one order may have, in minor units; more is never credited without a person.
    pub const fn order_max_minor(self) -> i128 {
        match self {
            Currency::Usdt => 1_000_000_000_000,
            Currency::Usd | Currency::Cny | Currency::Eur | Currency::Jpy => 1_000_000_000,
        }
    }

    /// Reads a code exactly as written in the table.
    pub fn parse(code: &str) -> Option<Currency> {
        Currency::ALL.into_iter().find(|currency| currency.code() == code)
    }
}

/// Why an amount was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MoneyError {
    /// The two amounts are of different currencies.
    CurrencyMismatch,
    /// The result does not fit.
    Overflow,
    /// The value has digits below the smallest unit.
    TooPrecise,
    /// The text is not a plain decimal number.
    Malformed,
}

impl fmt::Display for MoneyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            MoneyError::CurrencyMismatch => "amounts of different currencies",
            MoneyError::Overflow => "amount out of range",
            MoneyError::TooPrecise => "amount finer than the smallest unit",
            MoneyError::Malformed => "not a plain decimal number",
        })
    }
}

impl std::error::Error for MoneyError {}

/// An exact amount: a whole number of the currency's smallest unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Money {
    minor: i128,
    currency: Currency,
}

impl Money {
    /// `minor` units of `currency`.
    pub const fn new(minor: i128, currency: Currency) -> Money {
        Money { minor, currency }
    }

    /// Nothing, in `currency`.
    pub const fn zero(currency: Currency) -> Money {
        Money { minor: 0, currency }
    }

    /// Whole minor units.
    pub const fn minor(self) -> i128 {
        self.minor
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// The sum; refuses other currencies and overflow.
    pub fn checked_add(self, other: Money) -> Result<Money, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch);
        }
        let minor = self.minor.checked_add(other.minor).ok_or(MoneyError::Overflow)?;
        Ok(Money { minor, ..self })
    }

    /// The same amount with the other sign.
    pub fn checked_neg(self) -> Result<Money, MoneyError> {
        Ok(Money { minor: self.minor.checked_neg().ok_or(MoneyError::Overflow)?, ..self })
    }

    /// From `units` at `scale` decimals (`300000` at 4 is 30.0000); exact or refused.
    pub fn from_scaled(units: i128, scale: u32, currency: Currency) -> Result<Money, MoneyError> {
        let minor = rescale(units, scale, currency.exponent())?;
        Ok(Money { minor, currency })
    }

    /// This amount as whole units at `scale` decimals; exact or refused.
    pub fn to_scaled(self, scale: u32) -> Result<i128, MoneyError> {
        rescale(self.minor, self.currency.exponent(), scale)
    }

    /// From a plain decimal, see [`decimal_units`]; exact or refused.
    pub fn parse(text: &str, currency: Currency) -> Result<Money, MoneyError> {
        let (units, scale) = decimal_units(text)?;
        let units = i128::try_from(units).map_err(|_| MoneyError::Overflow)?;
        Money::from_scaled(units, scale, currency)
    }

    /// The amount as a decimal with all digits of the currency: `5.000000`.
    pub fn decimal(self) -> String {
        let digits = self.currency.exponent() as usize;
        let sign = if self.minor < 0 { "-" } else { "" };
        let text = format!("{:0>width$}", self.minor.unsigned_abs(), width = digits + 1);
        let (whole, fraction) = text.split_at(text.len() - digits);
        if digits == 0 { format!("{sign}{whole}") } else { format!("{sign}{whole}.{fraction}") }
    }
}

/// The units and their decimals of a plain decimal such as `10.5`: no sign, no exponent, no spaces.
pub fn decimal_units(text: &str) -> Result<(u128, u32), MoneyError> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || text.len() > 40 {
        return Err(MoneyError::Malformed);
    }
    let fraction = fraction.trim_end_matches('0');
    let scale = u32::try_from(fraction.len()).map_err(|_| MoneyError::Overflow)?;
    let units = format!("{whole}{fraction}").parse().map_err(|_| MoneyError::Overflow)?;
    Ok((units, scale))
}

fn rescale(units: i128, from: u32, to: u32) -> Result<i128, MoneyError> {
    let power = |exponent| 10i128.checked_pow(exponent).ok_or(MoneyError::Overflow);
    if to >= from {
        return units.checked_mul(power(to - from)?).ok_or(MoneyError::Overflow);
    }
    let divisor = power(from - to)?;
    if units % divisor == 0 { Ok(units / divisor) } else { Err(MoneyError::TooPrecise) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, currency: Currency, wanted: Result<i128, MoneyError>) {
        assert_eq!(Money::parse(text, currency).map(Money::minor), wanted, "{text}");
    }

    #[test]
    fn amounts_keep_every_digit_or_are_refused() {
        check("10.5", Currency::Usd, Ok(1050));
        check("10.50", Currency::Usd, Ok(1050));
        check("10.505", Currency::Usd, Err(MoneyError::TooPrecise));
        check("0.000001", Currency::Usdt, Ok(1));
        check("5", Currency::Jpy, Ok(5));
        check("5.0", Currency::Jpy, Ok(5));
        check("5.1", Currency::Jpy, Err(MoneyError::TooPrecise));
        for bad in ["", ".", "1.", ".5", "-1", "+1", "1e2", " 1", "1 ", "1.2.3", "١"] {
            check(bad, Currency::Usd, Err(MoneyError::Malformed));
        }
        check(
            "99999999999999999999999999999999999999999",
            Currency::Usd,
            Err(MoneyError::Malformed),
        );
        check("9999999999999999999999999999999999999999", Currency::Usd, Err(MoneyError::Overflow));
    }

    #[test]
    fn scales_convert_exactly_or_not_at_all() {
        assert_eq!(
            Money::from_scaled(300_000, 4, Currency::Usdt).map(Money::minor),
            Ok(30_000_000)
        );
        assert_eq!(Money::from_scaled(500_000, 4, Currency::Usd).map(Money::minor), Ok(5_000));
        assert_eq!(Money::from_scaled(500_001, 4, Currency::Usd), Err(MoneyError::TooPrecise));
        assert_eq!(Money::new(5_000_000, Currency::Usdt).to_scaled(4), Ok(50_000));
        assert_eq!(Money::new(5_000_001, Currency::Usdt).to_scaled(4), Err(MoneyError::TooPrecise));
        assert_eq!(Money::from_scaled(i128::MAX, 4, Currency::Usdt), Err(MoneyError::Overflow));
        assert_eq!(Money::from_scaled(1, 99, Currency::Usdt), Err(MoneyError::Overflow));
    }

    #[test]
    fn sums_refuse_other_currencies_and_overflow() {
        let one = Money::new(1, Currency::Usdt);
        assert_eq!(
            one.checked_add(Money::new(1, Currency::Usd)),
            Err(MoneyError::CurrencyMismatch)
        );
        assert_eq!(
            one.checked_add(Money::new(i128::MAX, Currency::Usdt)),
            Err(MoneyError::Overflow)
        );
        assert_eq!(one.checked_add(one).map(Money::minor), Ok(2));
    }

    #[test]
    fn decimals_show_all_digits_of_the_currency() {
        assert_eq!(Money::new(5_000_000, Currency::Usdt).decimal(), "5.000000");
        assert_eq!(Money::new(-7, Currency::Usd).decimal(), "-0.07");
        assert_eq!(Money::new(7, Currency::Jpy).decimal(), "7");
    }
}
