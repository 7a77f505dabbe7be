# A sweep: every combination of data, model and seed is one cell of one study.
xai-bench run -m data=wine,breast_cancer model=mlp,linear seed=0,1 \
    'explainer=[integrated_gradients,saliency,leave_one_out,random]' \
    'metric=[abpc,faithfulness_correlation,max_sensitivity]' study=sweep

# Tables of the study again, at any time, from what is stored.
xai-bench report --study sweep
