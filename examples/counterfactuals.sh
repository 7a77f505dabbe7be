# What would have to change? Nobody grows younger or moves for a loan, and debts only shrink.
xai-bench run data=custom data.path=examples/loans.csv data.target=paid \
    'data.immutable=[age,region]' 'data.decreasing=[debt]' \
    'data.ranges={income: [0, null], debt: [0, null]}' \
    'explainer=[wachter,growing_spheres,nearest_unlike_neighbour]' metric=counterfactual \
    study=counterfactuals

# The counterfactuals of the first people, in the words of the table.
python examples/show_counterfactuals.py
