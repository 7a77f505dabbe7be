# Your own table: a path, and the column to predict. Text columns become categories by themselves.
xai-bench run data=custom data.path=examples/loans.csv data.target=paid model=random_forest \
    'explainer=[kernel_shap,lime,leave_one_out,permutation_importance,random]' \
    'metric=[abpc,faithfulness_correlation,max_sensitivity,forward_rows]' study=own_table

# The same model by group: is one region's people explained worse than another's?
xai-bench run data=custom data.path=examples/loans.csv data.target=paid 'data.sensitive=[region]' \
    model=random_forest 'explainer=[kernel_shap,lime,random]' 'metric=[abpc,sensitive_share]' \
    study=by_region
