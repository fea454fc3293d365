//! Prices and costs, to the last unit.

use contracts::price::{cost_of, price_at};

#[test]
fn prices_and_costs_equal_the_contracts() {
    let fixture = super::fixture("prices.json");
    let rows = fixture["rows"].as_array().unwrap();
    assert!(rows.len() >= 20, "{} rows", rows.len());
    for row in rows {
        let number = |field: &str| row[field].as_str().unwrap().parse::<u128>().unwrap();
        let (tick, seconds) = (row["tick"].as_u64().unwrap() as u8, row["duration"].as_u64().unwrap() as u32);
        let price = price_at(number("base"), tick).unwrap();
        assert_eq!(price, number("price"), "{row}");
        assert_eq!(cost_of(price, seconds).unwrap(), number("escrow"), "{row}");
    }
}
